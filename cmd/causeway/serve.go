package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newServe(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "serve s3://BUCKET[/PREFIX]",
		Short: "Serve a bucket over WebDAV, without a mount",
		Long: `Serves a bucket, or a prefix of one, over WebDAV (RFC 4918, classes 1, 2 and 3) on
the address of --listen and prints "ready URL" when it answers. Files, locks and
guarantees are those of a mount: a PUT that was answered with success is stored.
/-/health and /-/metrics are on the same address.

An address that is not loopback is refused without credentials, unless
--insecure-no-auth says that everybody who can reach it may read and write.

The command ends like mount does, and has a state directory like one.`,
		Example: `  causeway serve s3://my-bucket --listen 127.0.0.1:8420
  causeway serve s3://data/team --endpoint http://10.0.0.5:9000 --read-only`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.serve(cmd.Context(), s, args[0])
		},
	}
	f := cmd.Flags()
	s.listenFlag(f, "`ADDR` of WebDAV, metrics and health; loopback unless a host is written")
	s.endpointFlags(f)
	s.stateFlag(f)
	s.filesystemFlags(f)
	s.commitFlags(f)
	s.lockFlags(f)
	s.ownerFlags(f)
	s.davFlags(f)
	s.logFlag(f)
	completeEnums(cmd)
	return cmd
}

func (a *app) serve(ctx context.Context, s *settings, bucket string) error {
	t, err := parseTarget(bucket)
	if err != nil {
		return err
	}
	g := &gateway{app: a, settings: s, target: t, s3: s.s3Config(t)}
	if g.stateDir, err = a.stateDirFor(s, t); err != nil {
		return err
	}
	s.webdav = s.listen
	return g.run(ctx)
}
