"""Formats of models: Hugging Face folders (``hf_*``), GGUF files (``gguf_*``), and glassllm's own.

``causalsim.models.read_checkpoint`` chooses among them.
"""
