"""Networks described by plain data: a table of layers and of operations between them."""
