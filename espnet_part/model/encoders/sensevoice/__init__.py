"""The encoder of FunASR's SenseVoiceSmall, a SAN-M trained on 400,000 hours in five languages."""
