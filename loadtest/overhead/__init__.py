"""What a hop through the gateway costs, beside other gateways."""
