"""The embedded corpus: parallel text from a grammar, speech from eSpeak NG, models from scratch.

Everything the recipe needs is made on the spot, deterministically in a seed:
`lexicon` and `grammar` (text), `speech` (audio), `prepare` (data directories),
`pretrain_encoder` and `pretrain_llm` (the two base models).
"""
