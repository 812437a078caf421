/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#pragma once
#define FRE_ASSERT NT_ASSERT
