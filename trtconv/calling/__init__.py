"""How modules are called: parameters and nesting of arguments, what is allowed, and what to say when it doesn't fit."""
