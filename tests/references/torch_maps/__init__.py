"""Maps of torch's explanation libraries (Captum, pytorch-grad-cam, zennit) on twins of small networks.

``networks`` says once what each network is; ``tflite`` builds the model file from that and ``twin`` the torch module,
neither knowing of the other. ``methods`` has one function per method that asks a library; what they answer lies in
``tests/references/fixtures``, one file per method, so that tests need no torch. In an environment that has it,
``python -m tests.references.torch_maps`` makes these files and compares them (``.ci/references``).
"""
