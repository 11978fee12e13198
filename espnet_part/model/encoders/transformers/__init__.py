"""Any audio encoder of transformers that `docs/encoders.md` lists: w2v-BERT 2.0, wav2vec 2.0, XLS-R, MMS,
HuBERT, WavLM, Parakeet, Moonshine, the towers of Qwen2-Audio, Qwen2.5-Omni, Qwen3-ASR, Voxtral."""
