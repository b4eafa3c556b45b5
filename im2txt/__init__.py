"""im2txt: a Show and Tell image captioner on today's TensorFlow."""

import os

# TensorFlow's C++ start-up chatter would bury our own lines; it must be told
# before it is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# Of a GPU's memory only what is needed, so that others can use it too.
os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
