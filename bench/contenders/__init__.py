"""What the service is compared with: the same request answered in plainer ways, each a program of its own."""
