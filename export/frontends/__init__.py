"""Ways to a ``.tflite`` file from what people train in."""
