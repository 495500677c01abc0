package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/causewayfs/causeway/gateway/access"
)

func newPasswd(a *app) *cobra.Command {
	token := false
	cmd := &cobra.Command{
		Use:   "passwd FILE USER",
		Short: "Set a password for --htpasswd, or make a token for --tokens",
		Long: `Writes USER with a password into FILE, which --htpasswd reads, and replaces the
one that USER had. FILE is made if it does not exist, readable by you only. The
password is asked for twice, or read from the first line of standard input if
that is no terminal. A gateway that runs takes it within a second or two.

With --token, FILE is one that --tokens reads: a new token for USER is made and
printed, once; FILE has its hash only. USER may have several. To take one away,
delete its line.`,
		Example: `  causeway passwd /etc/causeway/users ann
  pass show causeway/ann | causeway passwd /etc/causeway/users ann
  causeway passwd --token /etc/causeway/tokens ci > token`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			file, err := filepath.Abs(args[0])
			if err != nil {
				return &problem{what: "find " + args[0], err: err}
			}
			if token {
				return a.addToken(file, args[1])
			}
			return a.setPassword(ctx, file, args[1])
		},
	}
	cmd.Flags().BoolVar(&token, "token", false, "make a token instead, and print it")
	return cmd
}

func (a *app) addToken(file, user string) error {
	token, err := access.AddToken(file, user)
	if err != nil {
		return &problem{what: "add a token", err: err}
	}
	_, err = fmt.Fprintln(a.stdout, token)
	return err
}

func (a *app) setPassword(ctx context.Context, file, user string) error {
	password, err := a.newPassword(ctx, user)
	if err != nil {
		return &problem{what: "read the password", err: err}
	}
	if err := access.SetPassword(file, user, password); err != nil {
		return &problem{what: "set the password", err: err}
	}
	return nil
}

// newPassword asks for a password.
func (a *app) newPassword(ctx context.Context, user string) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return firstLine(a.stdin)
	}
	var answers [2]string
	for i, prompt := range []string{"New password for " + user + ": ", "Once more: "} {
		fmt.Fprint(a.stderr, prompt)
		answer, err := readSecret(ctx, int(f.Fd()))
		fmt.Fprintln(a.stderr)
		if err != nil {
			return "", err
		}
		answers[i] = answer
	}
	if answers[0] != answers[1] {
		return "", errors.New("they differ")
	}
	return answers[0], nil
}

// readSecret reads a line from a terminal without showing it. If ctx ends, the
// terminal shows what is typed again.
func readSecret(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return string(a.text), a.err
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}

// firstLine reads a line, whose end may be missing.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
