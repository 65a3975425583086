"""In the environment of the peer: ``compile_bakenn.py MODEL.tflite FOLDER`` has bakenn write C that calls CMSIS-NN."""

import sys

import bakenn

options = bakenn.CBackendOptions(
    kernel_policy=bakenn.KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True, target=bakenn.CORTEX_M4
)
bakenn.compile_tflite(sys.argv[1], sys.argv[2], name="m", backend_options=options)
