"""What stock ESPnet tasks need to train on a recipe's dump directories and to be scored beside PART.

The tasks themselves (``espnet2.bin.asr_train``, ``st_train`` and their inference) are used as they
are; ``egs2/TEMPLATE/part/baseline.sh`` calls them.
"""
