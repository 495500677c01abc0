package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func newDoctor(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "doctor [s3://BUCKET[/PREFIX]]",
		Short: "Find out what would keep a bucket from working as a filesystem",
		Long: `Checks this machine (FUSE, state directory, journal) and, with a bucket, the endpoint: can
it be reached, does its clock agree, are the credentials good, does it enforce
the conditional writes that keep writers apart, which keys cannot be shown as
files, which multipart uploads were abandoned.

Each line begins with ok, warn or FAIL; the latter two say what to do. The exit
status is 1 if there was a FAIL. Nothing is changed: the test of the conditional
writes makes objects below .causeway/ and removes them.`,
		Example: `  causeway doctor
  causeway doctor s3://my-bucket --endpoint http://10.0.0.5:9000
  causeway doctor s3://my-bucket --json | jq '.findings[] | select(.result != "ok")'`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			return a.doctor(ctx, s, args)
		},
	}
	f := cmd.Flags()
	s.endpointFlags(f)
	s.stateFlag(f)
	f.BoolVar(&s.json, "json", false, "print JSON")
	f.Int64Var(&s.scanKeys, "scan-keys", defaultScanKeys, "look at the first `N` keys of the bucket; 0 for all")
	return cmd
}

// result is how a check ended.
type result string

const (
	resultOK   result = "ok"
	resultWarn result = "warn"
	resultFail result = "FAIL"
)

// finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	Result result `json:"result"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// diagnosis is all that doctor found out. Its JSON is what --json prints.
type diagnosis struct {
	Target   string    `json:"target,omitempty"`
	Findings []finding `json:"findings"`
}

func (d *diagnosis) ok(check, format string, args ...any) {
	d.Findings = append(d.Findings, finding{check, resultOK, fmt.Sprintf(format, args...), ""})
}

func (d *diagnosis) warn(check, text, remedy string) {
	d.Findings = append(d.Findings, finding{check, resultWarn, oneLine(text), remedy})
}

func (d *diagnosis) fail(check, text, remedy string) {
	d.Findings = append(d.Findings, finding{check, resultFail, oneLine(text), remedy})
}

// failed returns how many checks ended with FAIL.
func (d *diagnosis) failed() int {
	n := 0
	for _, f := range d.Findings {
		if f.Result == resultFail {
			n++
		}
	}
	return n
}

// write prints d for people.
func (d *diagnosis) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range d.Findings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Result, f.Check, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(t, "\t\t%s.\n", f.Remedy)
		}
	}
	return t.Flush()
}

func (a *app) doctor(ctx context.Context, s *settings, args []string) error {
	d := &diagnosis{Findings: []finding{}}
	checkFUSE(d, a.uid)
	if len(args) == 0 {
		if err := a.checkLocal(d, s, target{}); err != nil {
			return err
		}
	} else {
		t, err := parseTarget(args[0])
		if err != nil {
			return err
		}
		d.Target = t.String()
		if err := a.checkLocal(d, s, t); err != nil {
			return err
		}
		x := &examination{d: d, target: t, endpoint: s.endpointURL(a.getenv), s3: s.s3Config(t), scanKeys: s.scanKeys, now: time.Now}
		x.run(ctx)
	}
	var err error
	if s.json {
		err = writeJSON(a.stdout, d)
	} else {
		err = d.write(a.stdout)
	}
	if n := d.failed(); n > 0 {
		return &reportedError{fmt.Errorf("%s failed", plural(int64(n), "check"))}
	}
	return errors.Join(err, ctx.Err())
}

// endpointURL returns the URL that requests go to, as the AWS SDK finds it.
func (s *settings) endpointURL(getenv func(string) string) string {
	for _, url := range []string{s.endpoint, getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL")} {
		if url != "" {
			return url
		}
	}
	for _, region := range []string{s.region, getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")} {
		if region != "" {
			return "https://s3." + region + ".amazonaws.com"
		}
	}
	return "https://s3.amazonaws.com"
}
