"""``python -m causalsim`` is the command line."""

from causalsim.cli import command

if __name__ == "__main__":
    command()
