"""The built-in converters, one file a family.

A one-layer operator is a row of a table; an operator with arguments is a short function from torch
arguments to TensorRT tensors that reads as its formula. The first parameter is the network builder
(`trtconv.emit.network.Network`), the second the operator's first argument, the others have the names of its
ATen schema.
"""
