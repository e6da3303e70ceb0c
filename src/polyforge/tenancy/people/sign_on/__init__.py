"""Single sign-on: people whom an identity provider vouches for, by OpenID Connect."""
