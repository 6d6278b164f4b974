"""Small applications, each started by one command on embedded services. See README.md."""
