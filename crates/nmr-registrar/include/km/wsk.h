/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The part of wsk.h that is not about sockets: NMR.
 */
#include "../netioddk.h"
