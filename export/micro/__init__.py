"""Target micro: one int8 graph that predicts and explains, of ops that TensorFlow Lite Micro has."""
