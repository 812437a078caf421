/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The control requests of the device: crates/sluice-control, modules `code` and `message`, in C.
 *
 * Both are METHOD_BUFFERED. Every message starts with a header: version 1 and the size of its fixed part. What follows
 * the fixed part follows without a gap. Reserved fields are 0.
 */
#ifndef PROBE_IOCTL_H
#define PROBE_IOCTL_H

#define PROBE_CONTROL_VERSION 1

/* In: PROBE_BATCH_REQUEST, its entries, the bytes of the packets. Out: PROBE_BATCH_ANSWER and the verdicts. */
#define IOCTL_PROBE_CLASSIFY CTL_CODE(FILE_DEVICE_NETWORK, 0x810, METHOD_BUFFERED, FILE_READ_ACCESS)
/* In: nothing. Out: PROBE_STATUS and as many PROBE_PROVIDERs as fit. */
#define IOCTL_PROBE_STATUS CTL_CODE(FILE_DEVICE_NETWORK, 0x811, METHOD_BUFFERED, FILE_READ_ACCESS)

typedef struct _PROBE_BATCH_REQUEST {
    SLUICE_HEADER Header;
    UINT32 Count; /* 1 to SLUICE_MAX_BATCH */
    UINT64 Reserved;
} PROBE_BATCH_REQUEST;
C_ASSERT(sizeof(PROBE_BATCH_REQUEST) == 16);

typedef struct _PROBE_BATCH_ENTRY {
    UINT16 LinkType;
    UINT16 Direction;
    UINT32 CapturedLength;
    UINT32 WireLength;
    UINT32 Offset; /* of the bytes, from the start of the input; behind the last entry */
} PROBE_BATCH_ENTRY;
C_ASSERT(sizeof(PROBE_BATCH_ENTRY) == 16);

typedef struct _PROBE_BATCH_ANSWER {
    SLUICE_HEADER Header;
    UINT32 Count; /* of verdicts: one a packet */
    UINT64 Reserved;
} PROBE_BATCH_ANSWER;
C_ASSERT(sizeof(PROBE_BATCH_ANSWER) == 16);

typedef struct _PROBE_STATUS {
    SLUICE_HEADER Header;
    UINT32 ProvidersTotal;
    UINT32 ProvidersListed;
    UINT32 Reserved;
} PROBE_STATUS;
C_ASSERT(sizeof(PROBE_STATUS) == 16);

typedef struct _PROBE_PROVIDER {
    UINT32 ModuleIdType; /* of NPI_MODULEID_TYPE, 0 for a provider that has none */
    UINT8 ModuleId[16];  /* what the type does not use is 0 */
    UINT32 Reserved;
    UINT64 Generation; /* the highest that PolicyChanged has announced, 0 if it announced none */
    SLUICE_STATISTICS Statistics;
} PROBE_PROVIDER;
C_ASSERT(sizeof(PROBE_PROVIDER) == 88);

#endif
