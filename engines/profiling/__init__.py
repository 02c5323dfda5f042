"""Finding out what a step costs a real worker, with plain OpenAI calls."""
