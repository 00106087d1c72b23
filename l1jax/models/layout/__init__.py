"""Networks that are described by plain data: a table of layers and of the operations between them."""
