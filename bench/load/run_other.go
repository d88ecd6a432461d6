//go:build !linux

package load

import (
	"context"
	"errors"
)

// run needs epoll.
func run(context.Context, Plan) (Outcome, error) {
	return Outcome{}, errors.New("load: runs on Linux only")
}
