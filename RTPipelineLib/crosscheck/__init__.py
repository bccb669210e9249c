"""Independent second calculations: other people's DVH programs, each in a process of its own."""
