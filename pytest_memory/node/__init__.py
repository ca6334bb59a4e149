"""The Node process under test: starting, finding, attaching, stopping."""
