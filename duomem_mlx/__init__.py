"""Distil a big agent into a small one: procedural memories before the prompt, a LoRA adapter in the weights."""

__version__ = "0.1.0"
