"""Training decoders: from recordings to one ONNX file. Needs the extra `offline`."""
