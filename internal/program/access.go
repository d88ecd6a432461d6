package program

import (
	"errors"
	"log/slog"
	"slices"

	"turbine/engine"
)

// accessFlags say whose pages may connect, and what a session is bound to.
type accessFlags struct {
	Origin          []string `placeholder:"ORIGIN" help:"Origins whose pages may connect in addition to the server's own, such as https://example.com. A page of another origin is refused with 403. None by default."`
	AnyOrigin       bool     `help:"Let pages of every origin connect, with the cookies of whoever looks at them."`
	CORSOrigin      []string `name:"cors-origin" placeholder:"ORIGIN" help:"Origins whose pages may connect and also poll from elsewhere; * means every origin and includes --any-origin. None by default."`
	CORSCredentials bool     `name:"cors-credentials" help:"Let the pages of --cors-origin send cookies."`
	BindIP          bool     `name:"bind-ip" help:"Take each request of a session only from the IPv4 address, or the IPv6 network of 64 bits, that the session began on. Any other is refused with 403."`
}

// warn logs what a page of any origin may do, if it may.
func (f *accessFlags) warn() {
	if f.AnyOrigin || slices.Contains(f.CORSOrigin, "*") {
		slog.Warn("pages of every origin may connect, with the cookies of whoever looks at them")
	}
}

// change brings the flags into a server that runs. --bind-ip stays what it was.
func (f *accessFlags) change(server *engine.Server) error {
	var o engine.Options
	if err := f.apply(&o); err != nil {
		return err
	}
	return server.SetAccess(o.Access)
}

func (f *accessFlags) apply(o *engine.Options) error {
	o.Access.Origins = f.Origin
	o.Access.AnyOrigin = f.AnyOrigin
	if f.BindIP {
		o.Access.Bind = engine.BindIP
	}
	if f.CORSCredentials && len(f.CORSOrigin) == 0 {
		return errors.New("--cors-credentials: there are no pages to send cookies; name them by --cors-origin")
	}
	if len(f.CORSOrigin) > 0 {
		o.Access.CORS = &engine.CORS{Origins: f.CORSOrigin, Credentials: f.CORSCredentials}
	}
	return nil
}
