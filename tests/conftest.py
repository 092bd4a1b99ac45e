"""What all rooms' tests share: the engines (see ``plugin``) and the devnet."""
