package main

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayfs/causeway/store/s3"
	"github.com/causewayfs/causeway/vfs"
)

// settings are the values of all flags. Each command binds those that it has.
type settings struct {
	logLevel enumValue

	// Where the objects are.
	endpoint     string
	region       string
	pathStyle    bool
	singleWriter bool

	// How the filesystem behaves.
	stateDir  string
	readOnly  bool
	staged    []string
	stagedTTL durationValue
	lockFiles []string
	dirTTL    durationValue
	openTTL   durationValue
	verify    durationValue
	foreign   enumValue
	cacheSize sizeValue
	memory    sizeValue

	// How it agrees with other gateways.
	coordinator coordinatorValue
	lockTTL     durationValue
	etcdTLS     bool

	// When a call has done its work.
	commit     enumValue
	fsync      enumValue
	spoolFiles uint32
	spoolSize  sizeValue
	spoolAge   durationValue

	// How it is mounted.
	status     addrValue
	allowOther bool
	uid, gid   uint32
	umask      modeValue
	daemon     bool

	// How it is served over WebDAV.
	webdav   addrValue
	macFiles enumValue
	access   accessSettings

	// Everything on one machine.
	data   string
	listen addrValue
	noFuse bool

	// Reports.
	json     bool
	scanKeys int64
}

// Defaults that the help shows.
const (
	defaultStagedTTL = time.Hour
	defaultDirTTL    = time.Second
	defaultVerify    = 30 * time.Second
	defaultCacheSize = 10 << 30
	defaultSpoolSize = 10 << 30
	defaultUmask     = 0o022
	defaultListen    = "127.0.0.1:8420"
	defaultScanKeys  = 100_000

	defaultSpoolFiles = 20_000
)

func newSettings() *settings {
	return &settings{
		logLevel: enumValue{"info", []string{"debug", "info", "warn", "error"}},
		foreign:  enumValue{"background", []string{"background", "strict"}},
		commit:   enumValue{"remote", []string{"remote", "local"}},
		fsync:    enumValue{"remote", []string{"remote", "local"}},
		macFiles: enumValue{"stage", []string{"stage", "store", "refuse"}},
	}
}

// endpointFlags say where the objects are.
func (s *settings) endpointFlags(f *pflag.FlagSet) {
	f.StringVar(&s.endpoint, "endpoint", "", "`URL` of the S3 server (default: Amazon S3, or AWS_ENDPOINT_URL)")
	f.StringVar(&s.region, "region", "", "`REGION` of the bucket (default: AWS_REGION or the AWS profile, then us-east-1)")
	f.BoolVar(&s.pathStyle, "path-style", false, "put the bucket into the URL's path, not its host name (implied where the endpoint's host is an address or a bare name)")
}

// stateFlag says where uncommitted data is kept.
func (s *settings) stateFlag(f *pflag.FlagSet) {
	f.StringVar(&s.stateDir, "state-dir", "", "`DIR` for staged files, caches and kept versions (default: one per bucket in "+
		"/var/lib/causeway for root, else in $XDG_STATE_HOME/causeway or ~/.local/state/causeway)")
}

// filesystemFlags say how the filesystem behaves.
func (s *settings) filesystemFlags(f *pflag.FlagSet) {
	s.stagedTTL, s.dirTTL, s.verify = durationValue(defaultStagedTTL), durationValue(defaultDirTTL), durationValue(defaultVerify)
	s.cacheSize, s.memory = defaultCacheSize, sizeValue(defaultMemory(memoryLimit()))
	f.BoolVar(&s.readOnly, "read-only", false, "refuse every change")
	f.StringSliceVar(&s.staged, "staged", vfs.DefaultStaged, "`GLOB` of temporary names that are committed by renaming them; repeat for more")
	f.Var(&s.stagedTTL, "staged-ttl", "`AGE` at which a temporary name that nobody renames is uploaded")
	f.StringSliceVar(&s.lockFiles, "lock-files", vfs.DefaultLockFiles, "`GLOB` of lock files of programs that judge a lock by its holder's process id and clock; repeat for more")
	f.Var(&s.dirTTL, "dir-ttl", "`AGE` at which names and attributes are asked for again")
	f.Var(&s.openTTL, "open-ttl", "`AGE` up to which an open believes what it knows of a file without asking S3")
	f.Var(&s.verify, "verify", "`INTERVAL` at which directories in use are listed again, to find what other tools wrote")
	f.Var(&s.foreign, "foreign", "how objects of other tools are found: strict asks S3 at every lookup and listing")
	f.Var(&s.cacheSize, "cache-size", "`SIZE` of file data kept on disk for reading")
	f.Var(&s.memory, "memory", "`SIZE` that the process tries to stay below; unless given, a quarter of what the host or the cgroup has, from 128MiB to 512MiB")
	f.BoolVar(&s.singleWriter, "single-writer", false, "mount although the endpoint does not enforce conditional writes; safe only without other writers")
}

// commitFlags say where the bytes are when close and fsync return.
func (s *settings) commitFlags(f *pflag.FlagSet) {
	s.spoolFiles, s.spoolSize = defaultSpoolFiles, defaultSpoolSize
	f.Var(&s.commit, "commit", "where a file is when close returns: in S3, or on this host's disk and sent soon after; causeway sync waits for that")
	f.Var(&s.fsync, "fsync", "where a file is when fsync returns, with --commit local")
	f.Uint32Var(&s.spoolFiles, "spool-files", s.spoolFiles, "`N` files at most wait to be sent, with --commit local; then writes wait, and are ENOSPC while S3 takes none")
	f.Var(&s.spoolSize, "spool-size", "`SIZE` that at most waits to be sent, with --commit local; like --spool-files")
	f.Var(&s.spoolAge, "spool-age", "`AGE` of the oldest file that waits to be sent at which no more are taken, with --commit local; 0s is no limit")
}

// mountFlags say how the filesystem appears on this host.
func (s *settings) mountFlags(f *pflag.FlagSet) {
	f.BoolVar(&s.allowOther, "allow-other", false, "let other users in; modes and owners are checked")
	s.ownerFlags(f)
}

// ownerFlags say what objects are that do not say it themselves.
func (s *settings) ownerFlags(f *pflag.FlagSet) {
	s.umask = defaultUmask
	f.Uint32Var(&s.uid, "uid", uint32(os.Getuid()), "owner `N` of objects that do not say (default: you)")
	f.Uint32Var(&s.gid, "gid", uint32(os.Getgid()), "group `N` of objects that do not say (default: yours)")
	f.Var(&s.umask, "umask", "`MASK` taken off the mode of objects that do not say, in octal")
	f.BoolVar(&s.daemon, "daemon", false, "detach once the filesystem answers")
}

// statusFlag says where status is served beside the control socket.
func (s *settings) statusFlag(f *pflag.FlagSet) {
	f.Var(&s.status, "status", "`ADDR` to serve /status, /-/metrics and /-/health on; loopback unless a host is written")
}

// listenFlag says where everything over HTTP is served.
func (s *settings) listenFlag(f *pflag.FlagSet, help string) {
	s.listen = defaultListen
	f.Var(&s.listen, "listen", help)
}

// webdavFlag says where WebDAV is served beside a mount.
func (s *settings) webdavFlag(f *pflag.FlagSet) {
	f.Var(&s.webdav, "webdav", "`ADDR` to serve the same files on over WebDAV, with /-/metrics and /-/health; loopback unless a host is written")
}

// davFlags say how WebDAV is served.
func (s *settings) davFlags(f *pflag.FlagSet) {
	s.accessFlags(f)
	f.Var(&s.macFiles, "mac-files", "what becomes of ._* and .DS_Store files while WebDAV is served: kept on this host, stored like any, or refused")
}

// logFlag says how much is logged.
func (s *settings) logFlag(f *pflag.FlagSet) {
	f.Var(&s.logLevel, "log-level", "least severe messages to log on stderr")
}

// commitsLocally fills in of o when a close is done.
func (s *settings) commitsLocally(o *vfs.Options) error {
	o.CommitLocal, o.FsyncLocal = s.commit.value == "local", s.fsync.value == "local"
	o.SpoolFiles, o.SpoolBytes, o.SpoolAge = int(s.spoolFiles), int64(s.spoolSize), time.Duration(s.spoolAge)
	switch {
	case o.FsyncLocal && !o.CommitLocal:
		return &usageError{errors.New("--fsync local needs --commit local: otherwise close waits for S3 all the same")}
	case s.spoolFiles == 0:
		return &usageError{errors.New("--spool-files must be at least 1")}
	case s.spoolSize == 0:
		return &usageError{errors.New("--spool-size must be larger than 0")}
	}
	return nil
}

// s3Config returns what opens the target.
func (s *settings) s3Config(t target) s3.Config {
	c := s3.Config{Bucket: t.Bucket, Region: s.region, Endpoint: s.endpoint, PathStyle: s.pathStyle}
	if t.Prefix != "" {
		c.Prefix = t.Prefix + "/"
	}
	return c
}

// level returns the slog.Level of --log-level.
func (s *settings) level() slog.Level {
	var l slog.Level
	// The words that the flag allows are names of levels.
	_ = l.UnmarshalText([]byte(s.logLevel.value))
	return l
}

// completeEnums offers the words of enumerations to the shell.
func completeEnums(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if e, ok := f.Value.(*enumValue); ok {
			// It fails only for a flag that does not exist.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(e.allowed, cobra.ShellCompDirectiveNoFileComp))
		}
	})
}
