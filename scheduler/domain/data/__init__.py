"""Tables generated from public data, and the script that generates them."""
