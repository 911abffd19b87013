"""Where queries come from: files, the service's log, a language model; and which must stay out."""
