// Package manual makes the man page of a program and the completions of its command
// line for bash, zsh and fish, out of the flags and commands that kong knows: what
// --help says, in the forms that a system reads.
//
//	page := manual.Page(parser.Model, manual.About{Version: "1.2.3", Date: date})
//	script := manual.Bash(parser.Model)
//
// Hidden flags and commands are in none of them.
package manual
