//go:build !linux

package main

import (
	"errors"
	"syscall"
)

func limitUnsent(int) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error {
		return errors.New("--unsent is for Linux only")
	}
}
