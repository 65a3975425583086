"""What Quantus says of the measures that decide nothing, on a small network in numpy.

``problem`` is the network with its inputs and maps, known to numpy alone; ``library`` asks Quantus. What it answers
lies in ``figures.npz``, so that tests need no Quantus. ``python -m tests.references.quantus_measures`` makes it anew,
in the environment of ``torch_maps`` (``.ci/references``).
"""
