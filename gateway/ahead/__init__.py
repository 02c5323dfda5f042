"""Work done before it is asked for, on workers that idle."""
