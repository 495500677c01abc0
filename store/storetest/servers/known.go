package servers

import "github.com/causewayfs/causeway/store/storetest"

// Known returns how a server differs from S3.
func Known(kind Kind) storetest.Differences {
	switch kind {
	case Versity:
		return storetest.Differences{
			FileOrDirectory: true,
			FoldsSegments:   true,
		}
	case MinIO:
		return storetest.Differences{
			DeleteIfIgnored: true,
			FileOrDirectory: true,
			NoEmptySegments: true,
		}
	}
	return storetest.Differences{}
}
