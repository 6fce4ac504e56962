"""Step 3: converters turn each call of a trace into layers, in a vocabulary of their own."""
