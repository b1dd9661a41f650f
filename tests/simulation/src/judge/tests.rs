// Below.
