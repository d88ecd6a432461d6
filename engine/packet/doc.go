// Package packet turns Engine.IO packets into bytes and bytes into packets,
// for protocol revisions 3 and 4 and for both of their carriers: one WebSocket
// message is one frame (Decode, AppendFrame), one polling body is a payload of
// packets (Next, NextBinary, AppendPayload).
//
// The contract:
//
//   - Pure functions over bytes: no I/O, no state, no locks. Everything here is
//     safe from any goroutine as long as the bytes are not shared.
//   - Decoders borrow their input and the Data of a packet points into it.
//     Base64 is decoded in place, so they also overwrite their input.
//   - Encoders append to a slice of the caller's and cannot fail. The Data of a
//     text packet must be valid UTF-8; they do not look.
//   - Decoders answer a packet or ErrMalformed. They never panic and never
//     allocate, except for text that is not valid UTF-8 (see Next). The size of
//     their input is the caller's to limit.
//
// A polling body has at least one packet, and more as long as rest is not nil:
//
//	for rest, more := body, true; more; more = rest != nil {
//		var p packet.Packet
//		if p, rest, err = revision.Next(rest); err != nil {
//			return err // the packets before count
//		}
//		handle(p)
//	}
package packet
