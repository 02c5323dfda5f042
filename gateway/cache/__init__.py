"""What is cached where, without a tokenizer."""
