package program

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/alecthomas/kong"
)

// commands are the commands of the program. Each that has the program's flags has
// them for itself; those of the command that was given are filled.
type commands struct {
	Serve  flags          `cmd:"" default:"withargs" help:"Serve clients until a signal ends the program. This is what turbine does without a command."`
	Config configCommands `cmd:"" help:"Look at the configuration: what is wrong with it, what holds, what could be set."`
	Health flags          `cmd:"" help:"Ask the server that has these flags whether clients may be sent to it: at its --health-path, or without that where it serves operations. The exit code is 0 if clients may be sent to it, 1 if it drains or does not answer, 2 if the flags make no sense."`
}

type configCommands struct {
	Check   flags    `cmd:"" help:"Say what is wrong with the flags, the environment and the configuration file. The exit code is 0 if nothing is, else 2."`
	Print   flags    `cmd:"" help:"Print the value of each flag and where it is set, as a configuration file."`
	Default struct{} `cmd:"" help:"Print a configuration file with every flag, its default and its description, all commented out."`
}

// newParser is the parser of command lines that fills c.
func newParser(c *commands, version string, stdout, stderr io.Writer) *kong.Kong {
	return kong.Must(c,
		kong.Name("turbine"),
		kong.Description(description),
		kong.DefaultEnvars(envName),
		kong.Vars{"version": "turbine " + version},
		kong.Writers(stdout, stderr),
		kong.Help(printHelp),
	)
}

// printHelp shows the flags of serve also where no command is named.
func printHelp(options kong.HelpOptions, context *kong.Context) error {
	if root := context.Model.Node; context.Selected() == nil {
		own := root.Flags
		defer func() { root.Flags = own }()
		root.Flags = slices.Concat(own, root.DefaultCmd.Flags)
	}
	return kong.DefaultHelpPrinter(options, context)
}

// beside runs the command if it is another one than serve, and reports whether it is.
func (s *settings) beside(stdout, stderr io.Writer) (code int, done bool) {
	switch s.command {
	case "health":
		return s.flags.health(stdout, stderr), true
	case "config check":
		if err := s.sayChecked(stdout, stderr); err != nil {
			return refuse(stderr, err), true
		}
	case "config print":
		s.print(stdout)
	case "config default":
		if err := printDefault(s.list, stdout); err != nil {
			fmt.Fprintf(stderr, "turbine: %v\n", err)
			return exitFailed, true
		}
	default:
		return 0, false
	}
	return 0, true
}

// sayChecked is config check. What the start of the server would warn of is logged.
func (s *settings) sayChecked(stdout, stderr io.Writer) error {
	logger := slog.New(newLogHandler(stderr, s.flags.LogFormat, slog.LevelInfo, s.words))
	warnOfVariables(logger, os.Environ(), s.list)
	if err := s.check(logger); err != nil {
		return err
	}
	what := s.flags.Config
	if what == "" {
		what = "what the command line and the environment say"
	}
	fmt.Fprintf(stdout, "turbine: %s can be used\n", what)
	return nil
}
