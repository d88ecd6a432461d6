// Package proxied says which client a proxy speaks for: by the header fields
// Forwarded, X-Forwarded-For, X-Real-IP and X-Forwarded-Proto of a request, and by
// the PROXY protocol, version 1 or 2, at the beginning of a connection.
//
// It takes bytes and returns values. It does no I/O, and keeps nothing of what it
// is given. Whatever is malformed is no address; nothing that is sent makes it
// panic.
package proxied
