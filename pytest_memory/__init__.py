"""Memory regression testing of Node.js apps with pytest."""
