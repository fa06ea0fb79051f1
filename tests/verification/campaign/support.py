"""Campaigns of a small model, and lines of their files that say something else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import causalsim as cs
from causalsim.kernels import FIXED
from causalsim.sealed import checksum, from_line, to_line
from causalsim.verification import campaign as campaign_module
from causalsim.verification import run_campaign
from causalsim.verification.provenance import Provenance
from causalsim.verification.target import Target
from causalsim.verification.workers import Job
from tests.models.folders import PLAIN

IDS, ORDERS, CHUNK = [5, 2, 7], 30, 4
MODEL = cs.load(PLAIN)
GRAPH = cs.EventGraph(MODEL.config, len(IDS))


def run(path: Path, **options) -> campaign_module.Campaign:
    return run_campaign(MODEL, IDS, path, **{"orders": ORDERS, "chunk": CHUNK, **options})


def totals(found: campaign_module.Campaign) -> tuple:
    return found.orders, found.digests, found.failed, found.holds


def lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def reference() -> str:
    return cs.run(MODEL, IDS, record=True).values_digest


def rewritten(path: Path, number: int, change, seal: bool) -> None:
    """A line of the file, counted from one, says something else; its checksum may be right all the same."""
    every = path.read_text().splitlines()
    record = from_line(every[number - 1], checksum(every[0]))
    spoilt = {**record, **change(record)}
    line = to_line(spoilt, checksum(every[0]))
    kept_sum = json.loads(every[number - 1])["checksum"]
    every[number - 1] = line if seal else line.replace(json.loads(line)["checksum"], kept_sum)
    path.write_text("".join(f"{each}\n" for each in every))


def other_digest(record) -> dict:
    (digest, count), *_ = record["digests"]
    return {"digests": [[digest, count - 1], [digest[::-1], 1]]}


def job() -> Job:
    target = Target(MODEL, GRAPH, (np.array(IDS, np.int32),), FIXED)
    return Job(Provenance.of(target), 0, target.reference.digest())
