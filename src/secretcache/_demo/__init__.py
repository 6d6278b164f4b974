"""An embedded Secrets Manager behind endpoints which fail on demand, for the demo and the tests."""
