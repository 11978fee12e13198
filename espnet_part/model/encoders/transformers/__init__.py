"""Any audio encoder that `transformers.AutoModel` loads: w2v-BERT 2.0, wav2vec 2.0, XLS-R, MMS, HuBERT,
WavLM, data2vec-audio, the tower of Qwen2-Audio, Parakeet."""
