"""The scorecard: the same scripted faults and races against several gateways, judged by their public surfaces alone."""
