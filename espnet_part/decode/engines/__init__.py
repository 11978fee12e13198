"""Engines: what continues the prompts that encoder and adapter have made.

An engine is a module of this package; its name is the file's. Each has a class ``Engine`` with the
interface of `espnet_part.decode.engines.base.Engine`.
"""
